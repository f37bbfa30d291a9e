"""What keeps a swap still where the face is still: smoothing, motion, and fading at what a generator cannot do."""
