package io.winnow.examples;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.inference.Predictor;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.types.Shape;
import ai.djl.translate.NoBatchifyTranslator;
import ai.djl.translate.TranslateException;
import ai.djl.translate.TranslatorContext;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.model.MoeModels;
import io.winnow.skipping.SkipPolicy;
import io.winnow.skipping.SkippingPredictor;
import java.nio.file.Path;

/**
 * How a host application that serves through a DJL predictor skips experts: it wraps the predictor
 * it has.
 */
public final class SkippingTextPredictor {
  private SkippingTextPredictor() {}

  /** A translator of the host application's own: text in, the most likely next token's text out. */
  static final class NextToken implements NoBatchifyTranslator<String, String> {
    private final TextTokenizer tokenizer;

    NextToken(TextTokenizer tokenizer) {
      this.tokenizer = tokenizer;
    }

    @Override
    public NDList processInput(TranslatorContext context, String text) {
      long[] ids = tokenizer.encode(text);
      return new NDList(context.getNDManager().create(ids, new Shape(1, ids.length)));
    }

    @Override
    public String processOutput(TranslatorContext context, NDList logits) {
      NDArray last = logits.singletonOrThrow().get("0, -1");
      return tokenizer.decode(last.argMax().toLongArray());
    }
  }

  /** Predicts the token that follows a text, skipping about half of the second experts. */
  public static String predict(Path folder, Path calibrationText, String text)
      throws TranslateException {
    try (Model model = MoeModels.load(folder, Device.cpu());
        TextTokenizer tokenizer = TextTokenizer.open(folder)) {
      Calibration calibration = Calibration.ofText(tokenizer, calibrationText, 16, 256);
      SkipPolicy policy = SkipPolicy.calibrate(model, calibration);
      Predictor<String, String> own = model.newPredictor(new NextToken(tokenizer));
      try (Predictor<String, String> skipping = SkippingPredictor.wrap(own, model, policy)) {
        return skipping.predict(text);
      }
    }
  }
}
