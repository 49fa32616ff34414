"""What commands share in the terminal: options, progress, how they end."""
