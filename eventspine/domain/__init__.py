"""The kit of a domain author: declare aggregates and views, test them; pure, no I/O."""
