"""train: (placeholder)"""
