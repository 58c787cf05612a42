"""The reference game: face rig, styles, renderer and glTF export. It plays the part of a user's own game client."""
