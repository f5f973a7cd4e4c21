from datetime import UTC, datetime

from glaucoma.machine.drained import Drained, drain, drained, is_drained, undrain

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_marked_gpu_takes_no_new_work_until_the_mark_is_gone(workspace):
    assert not is_drained(workspace, 1)
    drain(workspace, 1, "Xid 79", AT)
    assert is_drained(workspace, 1)
    assert not is_drained(workspace, 0)
    assert drained(workspace) == [Drained(1, "Xid 79", AT)]
    assert undrain(workspace, 1)
    assert not undrain(workspace, 1)
    assert drained(workspace) == []


def test_the_first_reason_is_kept(workspace):
    drain(workspace, 0, "hung", AT)
    assert drain(workspace, 0, "hot", AT).reason == "hung"


def test_a_mark_that_cannot_be_read_counts(workspace):
    drain(workspace, 2, "hung", AT)
    (mark,) = workspace.machine.rglob("gpu2.json")
    mark.write_text("{")
    assert is_drained(workspace, 2)
    (one,) = drained(workspace)
    assert one.gpu == 2
    assert "cannot be read" in one.reason
