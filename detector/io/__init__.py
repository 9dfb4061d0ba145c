"""io: (placeholder)"""
