"""stub"""
def capped(event, a, b): return event
