"""What was taken in: archives of unknown origin, unpacked so that nothing leaves its folder or is half there."""
