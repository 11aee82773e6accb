package io.winnow.core.train;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.environment.Interruption;

/** What every training asks of the model and the texts that it is given. */
final class TrainingInput {
  private TrainingInput() {}

  /** Returns the decoder of a model that can be trained, whatever its type. */
  static MoeDecoder decoder(Model model) {
    if (MoeModel.of(model) instanceof MoeDecoder decoder) {
      return decoder;
    }
    throw new InvalidInputException(
        "Model '" + model.getName() + "' was not loaded by MoeModels; no other can be trained");
  }

  static void checkType(MoeDecoder decoder, String trained) {
    if (decoder.runtime().type() != DataType.FLOAT32) {
      throw new InvalidInputException(
          String.format(
              "%s are trained in float32, and the model is in %s; load it with"
                  + " optDataType(FLOAT32)",
              trained, decoder.runtime().type()));
    }
  }

  static void checkText(String name, TokenSequences text, MoeDecoder decoder) {
    if (text.length() < 2) {
      throw new InvalidInputException(
          "A sequence of " + text.length() + " token predicts nothing; use at least 2 for " + name);
    }
    if (text.length() > decoder.maxPositions() || text.maxId() >= decoder.vocabularySize()) {
      throw new InvalidInputException(
          String.format(
              "The %s text has sequences of %d tokens with ids up to %d; the model takes %d tokens of"
                  + " a vocabulary of %d",
              name, text.length(), text.maxId(), decoder.maxPositions(), decoder.vocabularySize()));
    }
  }

  static void checkInterrupt() {
    Interruption.check("The training was interrupted");
  }

  /** Returns token ids {@code [sequences, length]}, owned by {@code scratch}. */
  static NDArray ids(NDManager scratch, TokenSequences sequences) {
    return scratch.create(
        sequences.flatten(0, sequences.count()), new Shape(sequences.count(), sequences.length()));
  }
}
