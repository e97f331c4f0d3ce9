"""What meshlib costs, measured against doing without it. README.md says how to run and read these scripts."""
