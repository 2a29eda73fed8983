"""The native delegation core under AI-agent gateways."""
