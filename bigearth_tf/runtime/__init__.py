"""What any process needs: command start-up, progress, files, locks, exit codes, error files, stop signals, versions."""
