"""The proof: metrics, parity and tolerances. Works on any session and knows no backend."""
