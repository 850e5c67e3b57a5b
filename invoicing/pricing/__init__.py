"""
What a quantity costs: pure, exact, and no more than that.

Nothing in here touches the database, the clock or a float. ``rating.rate`` is the door: a price and a quantity
in, a rated line out. ``definitions`` reads and writes the JSON form of a price; each price model is a module
of its own (``per_unit``, ``graduated``) that cuts a quantity into priced slices.
"""
