"""Storage: ports, records, and the backends behind them."""
