"""Everything that is learnt: networks, losses, data and one training loop per network."""
