"""The parts a method is made of, one file a slot, each called as `part(alpha, state)`."""
