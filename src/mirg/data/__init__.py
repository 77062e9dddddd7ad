"""Everything that makes datasets: importers, scenes, composed tasks, and what derives one dataset from another."""
