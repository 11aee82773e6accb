package io.winnow.core.internal.form;

import com.google.common.collect.Sets;
import java.util.EnumMap;
import java.util.Map;
import java.util.Set;

/**
 * Attention of grouped queries.
 *
 * @param heads query heads
 * @param keyValueHeads key and value heads, a divisor of {@code heads}
 * @param keySize elements of a query's and a key's head
 * @param valueSize elements of a value's head
 * @param scale factor of the scores, usually 1 / sqrt(keySize)
 * @param positions how it uses positions
 * @param norm what is normalised of queries and keys
 * @param clip the greatest absolute value of queries, keys and values; 0 for any
 * @param gate what the heads' outputs are multiplied with
 * @param extras the weights that it has besides query, key, value and output: biases, sinks
 */
public record GroupedAttention(
    int heads,
    int keyValueHeads,
    int keySize,
    int valueSize,
    double scale,
    PositionForm positions,
    QueryKeyNorm norm,
    double clip,
    Gate gate,
    Set<MixerPart> extras)
    implements SequenceMixer {

  /** What of queries and keys is divided by its root mean square. */
  public enum QueryKeyNorm {
    /** Nothing. */
    NONE,
    /** Each head, before the rotation. */
    HEAD,
    /** All heads together, before the rotation. */
    PROJECTION,
    /** Each head, behind the rotation and without weights. */
    ROTATED
  }

  /** What the heads' outputs are multiplied with: a function of a projection of the input. */
  public enum Gate {
    /** Nothing. */
    NONE(false),
    /** A sigmoid for every head. */
    SIGMOID_OF_HEADS(true),
    /** A sigmoid for every element. */
    SIGMOID_OF_ELEMENTS(false),
    /** A softplus for every head. */
    SOFTPLUS_OF_HEADS(true),
    /** A softplus for every element. */
    SOFTPLUS_OF_ELEMENTS(false);

    private final boolean ofHeads;

    Gate(boolean ofHeads) {
      this.ofHeads = ofHeads;
    }

    /** Returns whether it is a softplus. */
    public boolean isSoftplus() {
      return this == SOFTPLUS_OF_HEADS || this == SOFTPLUS_OF_ELEMENTS;
    }
  }

  public GroupedAttention {
    extras = Sets.immutableEnumSet(extras);
  }

  /** Returns whether queries, keys and values have biases. */
  public boolean isBiased() {
    return extras.contains(MixerPart.QUERY_BIAS);
  }

  @Override
  public Map<MixerPart, long[]> shapes(int hiddenSize) {
    long queries = (long) heads * keySize;
    long keys = (long) keyValueHeads * keySize;
    long values = (long) keyValueHeads * valueSize;
    long outputs = (long) heads * valueSize;
    Map<MixerPart, long[]> shapes = new EnumMap<>(MixerPart.class);
    shapes.put(MixerPart.QUERY, new long[] {queries, hiddenSize});
    shapes.put(MixerPart.KEY, new long[] {keys, hiddenSize});
    shapes.put(MixerPart.VALUE, new long[] {values, hiddenSize});
    shapes.put(MixerPart.OUTPUT, new long[] {hiddenSize, outputs});
    for (MixerPart part : extras) {
      shapes.put(
          part,
          switch (part) {
            case QUERY_BIAS -> new long[] {queries};
            case KEY_BIAS -> new long[] {keys};
            case VALUE_BIAS -> new long[] {values};
            case OUTPUT_BIAS -> new long[] {hiddenSize};
            case SINKS -> new long[] {heads};
            default -> throw new IllegalArgumentException(part + " is not of grouped queries");
          });
    }
    if (norm == QueryKeyNorm.HEAD || norm == QueryKeyNorm.PROJECTION) {
      boolean whole = norm == QueryKeyNorm.PROJECTION;
      shapes.put(MixerPart.QUERY_NORM, new long[] {whole ? queries : keySize});
      shapes.put(MixerPart.KEY_NORM, new long[] {whole ? keys : keySize});
    }
    if (gate != Gate.NONE) {
      shapes.put(MixerPart.GATE, new long[] {gate.ofHeads ? heads : outputs, hiddenSize});
    }
    return shapes;
  }

  @Override
  public StateForm state() {
    return StateForm.of(
        new StateForm.PerToken(keyValueHeads, keySize),
        new StateForm.PerToken(keyValueHeads, valueSize));
  }

  @Override
  public boolean isPlain() {
    return positions.rotarySize() == keySize
        && valueSize == keySize
        && !positions.isInterleaved()
        && positions.growth() == null
        && norm == QueryKeyNorm.NONE
        && clip == 0
        && gate == Gate.NONE
        && extras.isEmpty();
  }
}
