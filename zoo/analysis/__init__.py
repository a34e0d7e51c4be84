"""Looking at models: dreams beside the truth, agreement with reality, figures, videos, returns."""
