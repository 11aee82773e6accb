package io.winnow.core.internal.kernel.reference;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.internal.form.PositionForm;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.PassContext;
import io.winnow.core.internal.kernel.RotaryTable;
import io.winnow.core.internal.kernel.TokenPlaces;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** What the reference knows of a pass, for every use of positions. */
final class ReferenceContext extends PassContext {
  private final Map<PositionForm, Positions> positions;

  private ReferenceContext(int sequences, int tokens, Map<PositionForm, Positions> positions) {
    super(sequences, tokens);
    this.positions = positions;
  }

  /**
   * What one kind of layer knows.
   *
   * @param cos {@code [1 or sequences, 1, tokens, rotarySize]}; null without rotation, like sin
   * @param growth of the queries, {@code [1 or sequences, 1, tokens, 1]}, or null
   * @param mask added to scores, or null
   */
  record Positions(
      @Nullable NDArray cos,
      @Nullable NDArray sin,
      @Nullable NDArray growth,
      @Nullable NDArray mask) {}

  Positions of(SequenceMixer mixer) {
    Positions known = positions.get(mixer.positions());
    if (known == null) {
      throw new IllegalStateException("The pass was not prepared for " + mixer);
    }
    return known;
  }

  /** Makes the context of a pass, whose arrays belong to the manager. */
  static ReferenceContext of(
      NDManager manager,
      Collection<SequenceMixer> mixers,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places) {
    Map<PositionForm, Positions> positions = new HashMap<>();
    try (NDManager scratch = manager.newSubManager()) {
      for (SequenceMixer mixer : mixers) {
        positions.computeIfAbsent(
            mixer.positions(), form -> positions(manager, scratch, form, tables, places));
      }
    }
    return new ReferenceContext(places.sequences(), places.tokens(), positions);
  }

  private static Positions positions(
      NDManager manager,
      NDManager scratch,
      PositionForm form,
      Map<RotaryConfig, RotaryTable> tables,
      TokenPlaces places) {
    NDArray cos = null;
    NDArray sin = null;
    RotaryConfig key = form.rotary();
    RotaryTable all = key == null ? null : tables.get(key);
    if (all != null) {
      RotaryTable table = all.of(places.past() + places.tokens());
      RotaryConfig rotary = table.config();
      NDArray angles =
          places
              .positions(scratch)
              .toType(DataType.FLOAT32, false)
              .expandDims(-1)
              .mul(table.inverseFrequencies());
      angles = rotary.interleaved() ? angles.repeat(2, 2) : angles.concat(angles, -1);
      angles = angles.expandDims(1);
      cos = attached(manager, ReferenceArrays.times(scratch, angles.cos(), rotary.factor()));
      sin = attached(manager, ReferenceArrays.times(scratch, angles.sin(), rotary.factor()));
    }
    Growth growth = form.growth();
    return new Positions(
        cos,
        sin,
        attached(manager, growth == null ? null : places.growth(scratch, growth)),
        attached(manager, places.mask(scratch, form.visibility(), places.tokens() > 1)));
  }

  private static @Nullable NDArray attached(NDManager manager, @Nullable NDArray array) {
    return array == null ? null : ReferenceArrays.attach(manager, array);
  }
}
