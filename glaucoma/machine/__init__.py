"""The machine that research runs on: its GPUs, its memory and disks, and what is wrong with them."""
