"""The commonest generic layout: a folder a class, perhaps under a folder a split."""

from __future__ import annotations

from collections import Counter

from glaucoma.datasets.layouts.base import SourceImage
from glaucoma.datasets.layouts.images_masks import has_masks, has_table
from glaucoma.datasets.layouts.paths import class_of, split_in
from glaucoma.datasets.layouts.words import patient_and_eye
from glaucoma.datasets.tree import Tree


class ClassFolders:
    """`normal/*.jpg` and `glaucoma/*.jpg`, or `train/normal/*.jpg` and so on, in the usual words and any depth."""

    name = "class_folders"
    generic = True
    looks_like = "folders named for classes (normal, glaucoma, suspect, ..), perhaps inside train, val and test"

    def recognise(self, tree: Tree) -> str | None:
        """At least half of the images lie under class folders, and neither masks nor a table of labels is there."""
        labels = Counter(label for path in tree.images if (label := class_of(path)[0]) is not None)
        if not labels or 2 * labels.total() < len(tree.images) or has_masks(tree) or has_table(tree):
            return None
        return "folders are named for classes: " + ", ".join(f"{label} {labels[label]}" for label in sorted(labels))

    def read(self, tree: Tree) -> list[SourceImage]:
        """The photographs under class folders; `source_label` is the folder's name, patient and eye as names tell."""
        images = []
        for path in tree.images:
            label, word = class_of(path)
            if label is None:
                continue
            patient, eye = patient_and_eye(path.stem)
            images.append(
                SourceImage(
                    path,
                    label=label,
                    source_label=word,
                    patient_id=patient,
                    eye=eye,
                    split=split_in(path),
                    patient_from_name=bool(patient),
                )
            )
        return images
