"""What the targets of pictures are made of: waves and splines that go on evenly beyond a picture's edges."""
