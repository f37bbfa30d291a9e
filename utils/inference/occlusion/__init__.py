"""What is in front of a face: found on the face laid flat, over its track."""
