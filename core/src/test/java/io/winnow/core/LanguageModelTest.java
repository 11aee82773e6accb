package io.winnow.core;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Blocks;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

/** A host's own loop over a model that was loaded, by nothing but the seam. */
class LanguageModelTest {
  private static final long[] TOKENS =
      Arrays.copyOf(Fixtures.naeeTokens("valid.code").sequence(0), 12);

  private static Model load() {
    return LoadedModels.load(Fixtures.TINY_MIXTRAL_R4, DataType.FLOAT32, true);
  }

  @Test
  void stepsWithACacheGiveTheLogitsOfTheWholeText() {
    try (Model model = load();
        NDManager manager = model.getNDManager().newSubManager()) {
      LanguageModel languageModel = LanguageModel.of(model);
      NDArray ids = manager.create(TOKENS, new Shape(1, TOKENS.length));
      float[] whole =
          languageModel.logits(ids, new ForwardObserver() {}).get(":, -1").toFloatArray();
      try (TokenCache cache = languageModel.newCache(0)) {
        languageModel.next(ids.get(":, :11"), cache);
        assertThat(cache.length()).isEqualTo(11);
        float[] last = languageModel.next(ids.get(":, 11:"), cache).toFloatArray();
        assertThat(last).containsExactly(whole, within(1e-4f));
      }
      assertThat(languageModel.sourceFolder()).isEqualTo(Fixtures.TINY_MIXTRAL_R4);
      assertThat(languageModel.endTokens()).isNotEmpty();
    }
  }

  @Test
  void aCacheServesTheModelThatMadeItOnly() {
    try (Model model = load();
        Model other = load();
        NDManager manager = model.getNDManager().newSubManager();
        TokenCache cache = LanguageModel.of(other).newCache(0)) {
      NDArray ids = manager.create(TOKENS, new Shape(1, TOKENS.length));
      assertThatThrownBy(() -> LanguageModel.of(model).next(ids, cache))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("not made by this model; use one that its newCache");
      assertThatThrownBy(() -> LanguageModel.of(model).expand(cache, new int[] {0}, 1))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("not made by this model; use one that its newCache");
    }
  }

  @Test
  void anotherModelIsRefused() {
    try (Model model = Model.newInstance("mine", "PyTorch")) {
      model.setBlock(Blocks.identityBlock());
      assertThatThrownBy(() -> LanguageModel.of(model))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContaining("'mine' was not loaded by MoeModels and cannot generate")
          .hasMessageContaining("implement LanguageModel");
    }
  }
}
