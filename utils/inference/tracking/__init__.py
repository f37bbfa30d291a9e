"""Who is where: cuts, tracks of faces, the people on them, and what a run must remember to go on."""
