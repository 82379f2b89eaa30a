"""Messages about failures to the webhook of MARKET_DATA_ALERT_URL.

Belongs here: what is a failure, which failures have one cause, when a cause is told, and the sensor that does it. Does
not belong here: the checks (`checks`), the other sensors (`sensors`).
"""
