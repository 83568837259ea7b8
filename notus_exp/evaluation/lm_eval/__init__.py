"""Academic benchmarks through lm-evaluation-harness."""
