"""What any process needs: command start-up, progress bars, files, exit codes, error files, stop signals, versions."""
