"""Schedules by the wall clock: ``cron``, from keywords or from crontab text."""

from schedcore.triggers.cron._changes import ClockChange
from schedcore.triggers.cron._dialects import parse_crontab
from schedcore.triggers.cron._rule import CronRule
from schedcore.triggers.cron._shown import CronField
from schedcore.triggers.cron._trigger import CronTrigger

__all__ = ["ClockChange", "CronField", "CronRule", "CronTrigger", "parse_crontab"]
