package io.winnow.core.internal.kernel.single;

import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.PassContext;
import java.util.Map;

/** What the steps of a single token know of it: its position, and how that is rotated. */
final class TokenContext extends PassContext {
  private final int past;
  private final Map<RotaryConfig, float[]> rows;

  /**
   * Creates it.
   *
   * @param past the positions before it
   * @param rows by rotation its cosines, then its sines
   */
  TokenContext(int past, Map<RotaryConfig, float[]> rows) {
    super(1, 1);
    this.past = past;
    this.rows = Map.copyOf(rows);
  }

  int past() {
    return past;
  }

  float[] rotaryRow(SequenceMixer mixer) {
    RotaryConfig rotary = mixer.positions().rotary();
    float[] row = rotary == null ? null : rows.get(rotary);
    if (row == null) {
      throw new IllegalStateException("The pass was not prepared for " + mixer);
    }
    return row;
  }
}
