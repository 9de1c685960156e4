"""What any process needs: commands, progress bars, files, exit codes, and a note of why a process ended."""
