"""The main job: delegations of two sessions through a real gateway, shown and checked."""
