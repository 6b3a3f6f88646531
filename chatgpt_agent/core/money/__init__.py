"""Prices, rates and costs, exact to the last digit."""
