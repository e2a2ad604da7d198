"""What every benchmark needs: facts of the machine, interleaved rounds, spread, results, tables."""
