package io.winnow.core.internal.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.internal.environment.Telemetry;
import io.winnow.core.internal.form.GroupedAttention;
import io.winnow.core.internal.form.GroupedAttention.Gate;
import io.winnow.core.internal.form.GroupedAttention.QueryKeyNorm;
import io.winnow.core.internal.form.KernelConfig;
import io.winnow.core.internal.form.LatentAttention;
import io.winnow.core.internal.form.MixerPart;
import io.winnow.core.internal.form.PositionForm;
import io.winnow.core.internal.form.PositionForm.Growth;
import io.winnow.core.internal.form.PositionForm.Visibility;
import io.winnow.core.internal.form.RotaryConfig;
import io.winnow.core.internal.form.SequenceMixer;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.fused.FusedKernel;
import io.winnow.core.internal.kernel.reference.ReferenceKernel;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every parameter of the sequence mixers, also those that no family in the fixtures has, and norms
 * before and behind: the fused operations against the reference, of many tokens, with a cache token
 * by token, and padded.
 */
class SequenceMixerTest {
  private static final int HIDDEN = 24;
  private static final int TOKENS = 7;
  private static final KernelConfig CONFIG = new KernelConfig(HIDDEN, 1e-5, 1, 0.5, 1, false);
  private static final RotaryConfig WHOLE = rotary(4, false);
  private static final RotaryConfig PART = rotary(2, false);
  private static final RotaryConfig NEIGHBOURS = rotary(2, true);

  private final Random random = new Random(7);
  private NDManager manager;

  @BeforeEach
  void open() {
    Telemetry.off();
    manager = NDManager.newBaseManager(Device.cpu(), "PyTorch");
  }

  @AfterEach
  void close() {
    manager.close();
  }

  private static RotaryConfig rotary(int pairs, boolean interleaved) {
    float[] frequencies = new float[pairs];
    for (int i = 0; i < pairs; i++) {
      frequencies[i] = (float) Math.pow(100, -(double) i / pairs);
    }
    return new RotaryConfig(frequencies, 1.1, interleaved);
  }

  private static PositionForm positions(RotaryConfig rotary) {
    return new PositionForm(rotary, Visibility.ALL, null);
  }

  private static GroupedAttention grouped(
      int valueSize, PositionForm positions, QueryKeyNorm norm, Gate gate, MixerPart... extras) {
    return new GroupedAttention(4, 2, 8, valueSize, 0.3, positions, norm, 0, gate, Set.of(extras));
  }

  static Stream<SequenceMixer> mixers() {
    PositionForm whole = positions(WHOLE);
    return Stream.of(
        grouped(8, whole, QueryKeyNorm.NONE, Gate.NONE),
        grouped(6, whole, QueryKeyNorm.NONE, Gate.NONE),
        grouped(6, positions(PART), QueryKeyNorm.PROJECTION, Gate.SIGMOID_OF_ELEMENTS),
        grouped(8, positions(NEIGHBOURS), QueryKeyNorm.HEAD, Gate.SOFTPLUS_OF_HEADS),
        grouped(8, whole, QueryKeyNorm.ROTATED, Gate.SIGMOID_OF_HEADS, MixerPart.OUTPUT_BIAS),
        grouped(
            10,
            new PositionForm(WHOLE, new Visibility(3, 0, true), null),
            QueryKeyNorm.NONE,
            Gate.SOFTPLUS_OF_ELEMENTS,
            MixerPart.SINKS),
        grouped(
            8,
            new PositionForm(null, new Visibility(0, 4, false), new Growth(0.2, 2)),
            QueryKeyNorm.NONE,
            Gate.NONE,
            MixerPart.QUERY_BIAS,
            MixerPart.KEY_BIAS,
            MixerPart.VALUE_BIAS),
        new LatentAttention(4, 6, 4, 5, 9, 7, 0.3, 1e-6, true, positions(NEIGHBOURS)),
        new LatentAttention(4, 6, 4, 5, 9, 0, 0.3, 1e-6, false, positions(PART)));
  }

  private DeviceTensor random(long... shape) {
    int size = 1;
    for (long dimension : shape) {
      size *= (int) dimension;
    }
    float[] numbers = new float[size];
    for (int i = 0; i < size; i++) {
      numbers[i] = (float) random.nextGaussian() / 2;
    }
    return DeviceTensor.owning(manager.create(numbers, new Shape(shape)).duplicate());
  }

  private MixerWeights weights(SequenceMixer form, boolean before, boolean behind) {
    Map<MixerPart, DeviceTensor> parts = new EnumMap<>(MixerPart.class);
    form.shapes(HIDDEN).forEach((part, shape) -> parts.put(part, random(shape)));
    Junction junction =
        new Junction(before ? random(HIDDEN) : null, behind ? random(HIDDEN) : null, 0.5);
    return new MixerWeights(form, junction, parts, null);
  }

  /** Returns the residual behind a prompt, and those behind two more tokens, one at a time. */
  private List<float[]> run(Kernel kernel, MixerWeights weights, float[][] hidden, long[] padding) {
    Map<RotaryConfig, RotaryTable> tables =
        weights.form().positions().rotary() == null
            ? Map.of()
            : Map.of(
                weights.form().positions().rotary(),
                new RotaryTable(manager, weights.form().positions().rotary()));
    List<float[]> results = new ArrayList<>();
    try (KeyValueCache cache = new KeyValueCache(manager, 1, padding)) {
      for (float[] part : hidden) {
        int tokens = part.length / HIDDEN / padding.length;
        try (NDManager scratch = manager.newSubManager()) {
          NDArray x =
              scratch.create(part, new Shape((long) padding.length * tokens, HIDDEN)).duplicate();
          PassContext context =
              kernel.prepare(
                  scratch,
                  List.of(weights.form()),
                  tables,
                  new TokenPlaces(tokens, cache.length(), padding, 0));
          kernel.reserve(
              cache.layer(0), weights.like(), weights.form().state(), padding.length, tokens);
          results.add(
              kernel
                  .attend(scratch, DeviceTensor.owning(x), weights, context, cache.layer(0))
                  .array()
                  .toFloatArray());
        }
        cache.advance(tokens);
      }
    }
    return results;
  }

  private void assertSame(MixerWeights weights, long... padding) {
    float[][] hidden = new float[3][];
    for (int i = 0; i < hidden.length; i++) {
      hidden[i] = new float[padding.length * (i == 0 ? TOKENS : 1) * HIDDEN];
      for (int j = 0; j < hidden[i].length; j++) {
        hidden[i][j] = (float) random.nextGaussian();
      }
    }
    List<float[]> fused =
        run(new FusedKernel(manager, DataType.FLOAT32, CONFIG), weights, hidden, padding);
    List<float[]> reference = run(new ReferenceKernel(CONFIG), weights, hidden, padding);
    for (int i = 0; i < hidden.length; i++) {
      assertThat(fused.get(i)).containsExactly(reference.get(i), within(2e-4f));
      assertThat(fused.get(i)).isNotEqualTo(hidden[i]);
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("mixers")
  void fusedOperationsEqualTheReference(SequenceMixer form) {
    assertSame(weights(form, true, false), 0, 0);
    assertSame(weights(form, false, true), 0);
    assertSame(weights(form, true, true), 0, 2);
  }
}
