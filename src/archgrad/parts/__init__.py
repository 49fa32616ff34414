"""The parts a method is made of, one file a slot; every part is called as ``part(alpha, state)``."""
