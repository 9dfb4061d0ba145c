"""evaluate: (placeholder)"""
