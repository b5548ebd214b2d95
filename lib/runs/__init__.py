"""The long computations: one engine, and one small module for each table in results/."""
