"""What all methods share: actions, elements, frames, samples, and the mean of a backbone over a frame."""
