"""Models with choices: operations, choices, mixing weights, the supernet, the network."""
