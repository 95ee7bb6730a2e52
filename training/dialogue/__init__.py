"""Dialogue adapters: their data, composed and checked, and LoRA on a causal language model."""
