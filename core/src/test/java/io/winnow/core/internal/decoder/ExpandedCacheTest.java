package io.winnow.core.internal.decoder;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.Fixtures;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.kernel.KeyValueCache;
import io.winnow.core.model.MoeModels;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** Sequences that continue one that was computed once. */
class ExpandedCacheTest {
  private static float[] next(
      Model model, KeyValueCache cache, long[] tokens, int sequences, int count) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      var ids = manager.create(tokens, new Shape(sequences, tokens.length / sequences));
      return ((MoeDecoder) model.getBlock()).next(ids, cache, count).toFloatArray();
    }
  }

  @Test
  void continuationsBehindPaddingEqualWholeSequences() {
    long[] tokens = Arrays.copyOf(Fixtures.naeeTokens("valid.code").sequence(0), 28);
    try (Model model =
        MoeModels.loader(Fixtures.TINY_MIXTRAL_R4)
            .optDevice(Device.cpu())
            .optDataType(DataType.FLOAT32)
            .load()) {
      MoeDecoder decoder = (MoeDecoder) model.getBlock();
      float[] whole;
      try (KeyValueCache cache = decoder.newCache(0)) {
        whole = next(model, cache, tokens, 1, 8);
      }
      try (KeyValueCache prefix = decoder.newCache(0)) {
        next(model, prefix, Arrays.copyOf(tokens, 20), 1, 1);
        // The second sequence has a token less before it, the padding.
        long[] first = Arrays.copyOfRange(tokens, 20, 24);
        long[] padded = {0, tokens[20], tokens[21], tokens[22]};
        try (KeyValueCache both = decoder.expand(prefix, new int[] {0, 0}, 4, new long[] {0, 1})) {
          long[] input = new long[8];
          System.arraycopy(first, 0, input, 0, 4);
          System.arraycopy(padded, 0, input, 4, 4);
          next(model, both, input, 2, 1);
          // And both go on, the second twice.
          try (KeyValueCache three = decoder.expand(both, new int[] {1, 0, 1}, 2)) {
            float[] logits =
                next(
                    model,
                    three,
                    new long[] {tokens[23], tokens[24], tokens[24], tokens[25], tokens[23], 5},
                    3,
                    2);
            int vocabulary = 1024;
            for (int i = 0; i < vocabulary; i++) {
              assertThat(logits[vocabulary + i])
                  .isCloseTo(whole[4 * vocabulary + i], within(1e-4f));
              assertThat(logits[3 * vocabulary + i])
                  .isCloseTo(whole[5 * vocabulary + i], within(1e-4f));
              assertThat(logits[4 * vocabulary + i])
                  .isCloseTo(whole[3 * vocabulary + i], within(1e-4f));
            }
          }
          assertThatThrownBy(() -> decoder.expand(both, new int[] {0}, 1, new long[] {0}))
              .isInstanceOf(InvalidInputException.class)
              .hasMessageContaining("behind a cache without padding");
        }
        assertThatThrownBy(() -> decoder.expand(prefix, new int[] {1}, 1))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining("a cache of 1; use numbers from 0 to 0");
        assertThatThrownBy(() -> next(model, prefix, new long[] {1}, 1, 2))
            .isInstanceOf(InvalidInputException.class)
            .hasMessageContaining("The logits of 2 of 1 tokens");
      }
    }
  }
}
