package io.winnow.core.internal.environment;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.parallel.Isolated;

@Isolated
class TelemetryTest {
  private static final String PROPERTY = "OPT_OUT_TRACKING";
  private String before;

  @BeforeEach
  void remember() {
    before = System.getProperty(PROPERTY);
    System.clearProperty(PROPERTY);
  }

  @AfterEach
  void restore() {
    if (before == null) {
      System.clearProperty(PROPERTY);
    } else {
      System.setProperty(PROPERTY, before);
    }
  }

  @Test
  void optsOutWhereTheHostHasSaidNothing() {
    Telemetry.off();
    Telemetry.off();

    assertThat(System.getProperty(PROPERTY)).isEqualTo("true");
  }

  @Test
  void leavesTheHostsOwnChoiceAlone() {
    System.setProperty(PROPERTY, "false");

    Telemetry.off();

    assertThat(System.getProperty(PROPERTY)).isEqualTo("false");
  }
}
