"""Rich, Click and JSON: options that commands share, tables that fit, progress, errors."""
