"""What every long-running program needs: a launcher, stop signals, logging, the names and locks of the parts."""
