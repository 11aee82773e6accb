package io.winnow.core.internal.form;

import java.util.EnumMap;
import java.util.Map;

/**
 * Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1), whose cache holds one
 * rotated key and one latent vector per token.
 *
 * @param heads query heads
 * @param plainSize elements of a query's and a key's head that are not rotated
 * @param rotarySize elements behind them, which are rotated
 * @param valueSize elements of a value's head
 * @param rank elements of the latent vector that keys and values are made of
 * @param queryRank elements of the latent vector that queries are made of; 0 where they are made of
 *     the input
 * @param scale factor of the scores
 * @param epsilon of the latent vectors' norms
 * @param biased whether what makes latent vectors of the input, and the output, have biases
 * @param positions how it uses positions
 */
public record LatentAttention(
    int heads,
    int plainSize,
    int rotarySize,
    int valueSize,
    int rank,
    int queryRank,
    double scale,
    double epsilon,
    boolean biased,
    PositionForm positions)
    implements SequenceMixer {

  @Override
  public Map<MixerPart, long[]> shapes(int hiddenSize) {
    long queries = (long) heads * (plainSize + rotarySize);
    long down = (long) rank + rotarySize;
    Map<MixerPart, long[]> shapes = new EnumMap<>(MixerPart.class);
    if (queryRank == 0) {
      shapes.put(MixerPart.QUERY, new long[] {queries, hiddenSize});
    } else {
      shapes.put(MixerPart.QUERY_DOWN, new long[] {queryRank, hiddenSize});
      shapes.put(MixerPart.QUERY_DOWN_NORM, new long[] {queryRank});
      shapes.put(MixerPart.QUERY_UP, new long[] {queries, queryRank});
    }
    shapes.put(MixerPart.LATENT, new long[] {down, hiddenSize});
    shapes.put(MixerPart.LATENT_NORM, new long[] {rank});
    shapes.put(MixerPart.LATENT_UP, new long[] {(long) heads * (plainSize + valueSize), rank});
    shapes.put(MixerPart.OUTPUT, new long[] {hiddenSize, (long) heads * valueSize});
    if (biased) {
      shapes.put(MixerPart.LATENT_BIAS, new long[] {down});
      shapes.put(MixerPart.OUTPUT_BIAS, new long[] {hiddenSize});
      if (queryRank > 0) {
        shapes.put(MixerPart.QUERY_DOWN_BIAS, new long[] {queryRank});
      }
    }
    return shapes;
  }

  @Override
  public StateForm state() {
    return StateForm.of(new StateForm.PerToken(1, rotarySize), new StateForm.PerToken(1, rank));
  }

  @Override
  public boolean isPlain() {
    return false;
  }
}
