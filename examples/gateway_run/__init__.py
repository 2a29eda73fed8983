"""The main job: delegations of sessions and chats through a real gateway, shown and checked."""
