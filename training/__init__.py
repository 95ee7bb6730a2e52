"""Datasets to adapters: data, baseline, trainer, bundle. It knows neither Prefect nor MLflow."""
