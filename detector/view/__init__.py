"""view: (placeholder)"""
