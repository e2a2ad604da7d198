"""Replicas that rest, and what it takes to bring them back.

``measuring`` learns from reports how long starts and wakes take, and says what gateways are to expect;
``resting`` says which replicas sleep on, which wake, and how deep one sleeps that is not needed.
"""
