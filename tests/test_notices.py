import logging

from charnn.notices import notice_logger
from tests.notices import collected_notices


def test_messages_name_arguments_in_the_log_and_flags_on_the_command_line(caplog):
    with caplog.at_level(logging.INFO, logger="charnn"), collected_notices() as notices:
        notice_logger("charnn.training").info("--batch-size 64 became 32: 90 %")
    assert [record.getMessage() for record in caplog.records] == ["batch_size 64 became 32: 90 %"]
    assert caplog.records[0].name == "charnn.training"
    assert notices == ["--batch-size 64 became 32: 90 %"]
